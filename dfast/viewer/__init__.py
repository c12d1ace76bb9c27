"""The page that shows an object in a browser, while it trains or afterwards: `dfast.Viewer`.

`live` is the callback of a run and what keeps the page going; `page` holds the widgets; `painter`
decides which picture is due; `pictures` draws one; `pace` bounds what a page costs a run; `address`
checks where it is served. Importing the package imports nothing of it, so that the command line can
refuse an address without torch.
"""
