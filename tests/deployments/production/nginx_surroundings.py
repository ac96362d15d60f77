"""What nginx needs around a server's configuration, to run as whoever runs the tests, in a folder of theirs."""

from __future__ import annotations

SURROUNDINGS = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/{file};
}}
"""
"""By `user` (a line, or empty), `folder` and `file`, the configuration in that folder."""
