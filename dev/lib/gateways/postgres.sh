#!/bin/sh
# The entry point of the image with Debian's PostgreSQL. Understands POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB and
# PGDATA, like the official image. The image has no programs but those of PostgreSQL and this shell.
set -eu
PATH=/usr/lib/postgresql/15/bin

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile /tmp/password --encoding UTF8 --locale C \
    --auth-local trust --auth-host scram-sha-256
  : >/tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA" postgres
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp
