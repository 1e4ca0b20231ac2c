"""Judge edits by HairCLIP's loss (section 3.3): its terms, found by name, and their weighted sum per sample.

`README.md` beside this file shows how to add a term.
"""
