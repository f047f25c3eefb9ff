"""The playground: a page on which a model is watched while it reasons, and the files that draw it.

The page's own files are data of this package. ONNX Runtime Web comes from npm and is put beside them by `make web`,
never into a wheel. `trace.js`, `board.js` and `trace.css` alone draw recorded steps: the head of `trace.js` says what
JSON they take, and `trm_deploy.web.files.drawing` gives them for a page that is one file.
"""
