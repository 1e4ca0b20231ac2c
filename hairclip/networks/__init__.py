"""The networks, each a plain `torch.nn.Module`: no files, no device choice, no configuration objects.

Every network has a property `config`, the keyword arguments that rebuild it: ``cls(**network.config)``.
"""
