from hairclip.blend.membrane import *
