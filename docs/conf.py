"""The documentation as a site: `make docs`. The pages are plain Markdown and read as well where they lie."""

project = "Evergreen"
html_title = "Evergreen"
extensions = ["myst_parser"]
myst_heading_anchors = 3
# README.md is the start page: index.md includes it and says in which order the pages stand.
exclude_patterns = ["README.md", "pictures"]
highlight_language = "none"
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_theme_options = {"footer_icons": []}
