# shellcheck shell=bash
# The images that every node needs, built from programs of this machine. Images are loaded into a node as archives,
# because there is no registry.

PAUSE_IMAGE=mcpgateway-dev/pause:1
# Without the version.
COREDNS_IMAGE=mcpgateway-dev/coredns

# pause_program: prints its path. Compiles it if the source has changed.
pause_program() {
  local sum program
  read -r sum _ < <(cksum <"$DEV/lib/pause.c")
  program=$CACHE/bin/pause-$sum
  if [[ ! -x $program ]]; then
    musl-gcc -Os -static -s -Wall -Wextra -Werror -o "$program.$$" "$DEV/lib/pause.c" || die "pause.c does not compile"
    mv -fT -- "$program.$$" "$program"
  fi
  printf '%s\n' "$program"
}

# write_image NAME ARCHIVE ARGUMENT...: see image_archive.py.
write_image() {
  local name=$1 archive=$2
  shift 2
  python3 "$DEV/lib/image_archive.py" --name "$name" --output "$archive" "$@"
}

# load_node_images: keeps the archives in the cache, because compressing takes seconds.
load_node_images() {
  local pause coredns=$CACHE/images/coredns-$COREDNS_VERSION.tar
  pause=$CACHE/images/$(basename "$(pause_program)").tar
  mkdir -p "$CACHE/images"
  [[ -e $pause ]] || write_image "$PAUSE_IMAGE" "$pause" --entrypoint /pause "$(pause_program):/pause"
  [[ -e $coredns ]] || write_image "$COREDNS_IMAGE:$COREDNS_VERSION" "$coredns" --entrypoint /coredns "$BIN_DIR/coredns:/coredns"
  load_image "$pause"
  load_image "$coredns"
}

# load_image ARCHIVE: into the node's containerd.
load_image() {
  in_sandbox ctr --namespace k8s.io images import - <"$1" >>"$FOLDER/logs/images.log" 2>&1 ||
    die "the node refuses the image $1, see $FOLDER/logs/images.log"
}
