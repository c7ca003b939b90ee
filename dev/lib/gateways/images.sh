# shellcheck shell=bash
# Images of a real fleet of gateways, from what is installed on this machine: ContextForge as released, MCP servers, and
# PostgreSQL. Kept in the cache, because reading thousands of files takes a minute. Needs common.sh, node-images.sh.

GATEWAYS=$DEV/lib/gateways
FLEET=$ROOT/integrations/contextforge/dev/fleet
POSTGRES=/usr/lib/postgresql/15
HERE=$ROOT/integrations/contextforge

# python_image NAME PYTHON ARGUMENT...: an image with everything that this Python imports. Prints the archive's path.
python_image() {
  local name=$1 python=$2 archive sum work folder
  shift 2
  folder=${python%/bin/*}
  # The path of the environment is part of the sum: a new environment has a new path.
  read -r sum _ < <(cat "$GATEWAYS"/*.py "$FLEET"/*upstream.py "$DEV/lib/image_archive.py" <(echo "$folder $*") | cksum)
  archive=$(dirname "$folder")/images/$name-$sum.tar
  if [[ ! -e $archive ]]; then
    say "reading the files of $name"
    work=$(mktemp -d)
    mkdir -p "${archive%/*}"
    "$python" "$GATEWAYS/python_files.py" "$work" >"$work/files"
    write_image "mcpgateway-dev/$name:1" "$archive" --level 1 "$@" "@$work/files"
    rm -rf -- "$work"
  fi
  printf '%s\n' "$archive"
}

# pythons: prints the Python of an environment with ContextForge as released, and that of one with fastmcp. The driver
# of PostgreSQL is that of ContextForge's extra "postgres", but the binary variant, which needs no compiler.
pythons() (
  # shellcheck source=../../../integrations/contextforge/dev/lib/environments.sh
  source "$HERE/dev/lib/environments.sh"
  say() { printf '%s\n' "$*" >&2; }
  folder=$CACHE/contextforge-$CONTEXTFORGE_VERSION-image
  # shellcheck disable=SC2046 # one word each
  [[ -e $folder/.complete ]] || python=$(find_python ContextForge $(pythons_of "$CONTEXTFORGE_VERSION"))
  environment "$folder" "${python:-}" "$CONTEXTFORGE==$CONTEXTFORGE_VERSION" "psycopg[binary]"
  fastmcp_environments
  printf '%s\n' "$folder/bin/python" "$FASTMCP"
)

# contextforge: started like ContextForge's own image, as its user.
contextforge() {
  local found python
  found=$(pythons) python=${found%%$'\n'*}
  python_image contextforge "$python" --user 10001:10001 \
    --entrypoint /usr/local/bin/python3 --entrypoint /app/start.py \
    "$GATEWAYS/start.py:/app/start.py" "$GATEWAYS/gunicorn.config.py:/app/gunicorn.config.py"
}

# mcp_servers: real MCP servers, see pod_upstreams.py.
mcp_servers() {
  local found python
  found=$(pythons) python=${found##*$'\n'}
  python_image mcp-servers "$python" --entrypoint /usr/local/bin/python3 --entrypoint /app/pod_upstreams.py \
    "$FLEET/pod_upstreams.py:/app/pod_upstreams.py" "$FLEET/upstream.py:/app/upstream.py"
}

# postgres: Debian's server programs and a shell, at the same paths.
postgres() {
  local program library file files=() programs=(postgres initdb pg_ctl pg_isready)
  [[ -x $POSTGRES/bin/postgres ]] || install_packages postgresql-15
  for program in "${programs[@]/#/$POSTGRES/bin/}"; do files+=("$(readlink -f "$program"):$program"); done
  # The JIT compiler is as large as everything else, and optional.
  for library in "$POSTGRES"/lib/*.so; do [[ $library == */llvmjit.so ]] || files+=("$library:$library"); done
  while read -r file; do files+=("$file:$file"); done < <(
    find -L /usr/share/postgresql/15 -type f -not -path '*/man/*'
    find -L /usr/share/zoneinfo/{UTC,GMT,Etc/UTC} -type f)
  while read -r library; do files+=("$library:$library"); done < <(
    { ldd "${programs[@]/#/$POSTGRES/bin/}" "$POSTGRES"/lib/{plpgsql,dict_snowball,libpqwalreceiver}.so /bin/dash ||
      true; } | grep -oE '/[^ :]+ \(0' | sed 's/ (0$//' | sort -u)
  printf 'postgres:x:999:999::/:/bin/sh\n' >"$OUT/passwd"
  write_image mcpgateway-dev/postgres:15 "$OUT/postgres.tar" --level 1 --user 999:999 --entrypoint /entrypoint \
    /bin/dash:/bin/sh "$GATEWAYS/postgres.sh:/entrypoint" "$OUT/passwd:/etc/passwd" "${files[@]}"
  printf '%s\n' "$OUT/postgres.tar"
}
