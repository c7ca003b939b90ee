# shellcheck shell=bash
# Finds etcd, kube-apiserver and kubectl, or builds them once into a cache outside the checkout.
# There is no download of finished binaries: Go modules are what a locked-down machine can still get.

# What every instance needs; one with a node needs those of node-binaries.sh, too.
BINARIES=(etcd kube-apiserver kubectl)

cache_root() {
  if [[ -n ${MCPGATEWAY_DEV_CACHE:-} ]]; then
    absolute "$MCPGATEWAY_DEV_CACHE"
  else
    printf '%s/mcpgateway-operator\n' "$(home_path XDG_CACHE_HOME .cache)"
  fi
}

pinned_version() {
  case $1 in
    etcd) echo "$ETCD_VERSION" ;;
    coredns) echo "$COREDNS_VERSION" ;;
    *) echo "$KUBERNETES_VERSION" ;;
  esac
}

cached_binary() { printf '%s/bin/%s-%s\n' "$CACHE" "$1" "$(pinned_version "$1")"; }

# version_of NAME PATH: what the program itself says, or nothing.
version_of() {
  local arguments=(--version)
  [[ $1 == kubectl ]] && arguments=(version --client)
  # Bounded, because what is found under such a name on someone's PATH may be anything.
  timeout 10 "$2" "${arguments[@]}" 2>/dev/null </dev/null |
    sed -nE '1,3s/^(Kubernetes |Client Version: |etcd Version: |CoreDNS-)v?([0-9]+\.[0-9]+\.[0-9]+).*/\2/p' | head -n 1 || true
}

# version_fits NAME VERSION: kube-apiserver and kubectl within one minor of the pinned version (the skew that
# Kubernetes supports between the two), etcd not too old.
version_fits() {
  local major minor pinned_major pinned_minor
  case $1 in
    etcd) version_at_least "$2" "$ETCD_MIN_VERSION"; return ;;
    coredns) [[ $2 == "$COREDNS_VERSION" ]]; return ;;
  esac
  IFS=. read -r major minor _ <<<"$2"
  IFS=. read -r pinned_major pinned_minor _ <<<"$KUBERNETES_VERSION"
  ((major == pinned_major && minor >= pinned_minor - 1 && minor <= pinned_minor + 1))
}

wanted_version() {
  case $1 in
    etcd) echo "$ETCD_MIN_VERSION or newer" ;;
    coredns) echo "$COREDNS_VERSION" ;;
    *) echo "within one minor of $KUBERNETES_VERSION" ;;
  esac
}

# take_if_fitting NAME PATH: sets FOUND[NAME] and FOUND_VERSION[NAME], or says why this one is not used.
take_if_fitting() {
  local version
  version=$(version_of "$1" "$2")
  if [[ -n $version ]] && version_fits "$1" "$version"; then
    FOUND[$1]=$(readlink -f -- "$2")
    FOUND_VERSION[$1]=$version
    return
  fi
  say "not used: $2 is ${version:-of an unknown version}, wanted $(wanted_version "$1")"
  return 1
}

# find_binary NAME. The order: what was asked for (KUBEBUILDER_ASSETS), then an earlier build, which is exactly the
# pinned version, then whatever PATH has.
find_binary() {
  local name=$1 candidate
  candidate=${KUBEBUILDER_ASSETS:-}/$name
  if [[ -n ${KUBEBUILDER_ASSETS:-} && -x $candidate ]]; then
    take_if_fitting "$name" "$candidate" && return
  fi
  candidate=$(cached_binary "$name")
  if [[ -x $candidate ]]; then
    FOUND[$name]=$candidate
    FOUND_VERSION[$name]=$(pinned_version "$name")
    return
  fi
  candidate=$(type -P "$name") || return 1
  take_if_fitting "$name" "$candidate"
}

# ensure_binaries: sets BIN_DIR, a folder with the three programs, and FOUND_VERSION. Builds what is not found.
ensure_binaries() {
  local name missing=()
  CACHE=$(cache_root)
  declare -gA FOUND=() FOUND_VERSION=()
  for name in "${BINARIES[@]}"; do
    find_binary "$name" || missing+=("$name")
  done
  if ((${#missing[@]})); then
    build_binaries "${missing[@]}"
    for name in "${missing[@]}"; do
      FOUND[$name]=$(cached_binary "$name")
      FOUND_VERSION[$name]=$(pinned_version "$name")
    done
  fi
  link_binaries
}

# One folder per set of programs, so that it can go in front of PATH. The links are replaced by renaming, because
# another caller may be starting the same programs right now.
link_binaries() {
  local name sum link
  read -r sum _ < <(printf '%s\n' "${FOUND[@]}" | sort | cksum)
  BIN_DIR=$CACHE/sets/kubernetes-${FOUND_VERSION[kube-apiserver]}-etcd-${FOUND_VERSION[etcd]}-$sum
  mkdir -p "$BIN_DIR"
  for name in "${BINARIES[@]}"; do
    link=$BIN_DIR/$name
    [[ $link -ef ${FOUND[$name]} ]] && continue
    ln -sfn -- "${FOUND[$name]}" "$link.$$"
    mv -fT -- "$link.$$" "$link"
  done
}

# --- Building -------------------------------------------------------------------------------------------------------

build_binaries() {
  local name missing=()
  need flock nice
  mkdir -p "$CACHE/bin" "$CACHE/work"
  take_lock "$CACHE/work/lock" "another process is building into $CACHE"
  # Whoever held the lock may have built what we miss.
  for name in "$@"; do
    [[ -x $(cached_binary "$name") ]] || missing+=("$name")
  done
  if ((${#missing[@]})); then
    announce_build "${missing[@]}"
    build_missing "${missing[@]}"
    say "built in $SECONDS s"
  fi
  drop_lock
}

announce_build() {
  local name list=''
  for name in "$@"; do list+="${list:+, }$name $(pinned_version "$name")"; done
  say "building $list from Go modules, because no fitting binary was found"
  say "this happens once and takes 6 to 9 minutes on 2 cores; the result goes to $CACHE/bin"
}

build_missing() {
  local name kubernetes=()
  type -P go >/dev/null ||
    die "'go' is missing: install Go >= $GO_MIN_VERSION (Debian package golang-go, if it is new enough), or set KUBEBUILDER_ASSETS to a folder with ${BINARIES[*]}"
  # A person who ends the build ends the compiler too.
  trap 'stop_build' EXIT
  for name in "$@"; do
    case $name in
      etcd | coredns) "build_$name" ;;
      *) kubernetes+=("$name") ;;
    esac
  done
  ((${#kubernetes[@]} == 0)) || build_kubernetes "${kubernetes[@]}"
  trap - EXIT
}

stop_build() { [[ -z ${BUILD_PID:-} ]] || kill "$BUILD_PID" 2>/dev/null || true; }

# Each has a module of its own: together they would have to agree on one version of everything they share.
build_etcd() {
  local work=$CACHE/work/etcd-$ETCD_VERSION
  new_module "$work"
  printf 'require go.etcd.io/etcd/server/v3 v%s\n' "$ETCD_VERSION" >>"$work/go.mod"
  cat >"$work/main.go" <<'GO'
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
GO
  go_build "$work" "-s -w" etcd .
}

build_kubernetes() {
  local work=$CACHE/work/kubernetes-$KUBERNETES_VERSION name packages=() minor flags="-s -w" package
  new_module "$work"
  staging_module_lines "$work" >"$work/go.mod.lines"
  cat "$work/go.mod.lines" >>"$work/go.mod"
  IFS=. read -r _ minor _ <<<"$KUBERNETES_VERSION"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$KUBERNETES_VERSION -X $package.gitMajor=1 -X $package.gitMinor=$minor"
  done
  for name in "$@"; do packages+=("k8s.io/kubernetes/cmd/$name"); done
  go_build "$work" "$flags" "$*" "${packages[@]}"
}

# k8s.io/kubernetes v1.X.Y takes its sibling modules from its own tree. As a dependency it cannot, so each needs a
# replace line for the same module as published, v0.X.Y. The list of siblings is the release's own.
staging_module_lines() {
  local work=$1 gomod version=0.${KUBERNETES_VERSION#1.}
  run_logged "$work" "fetching the module list of Kubernetes $KUBERNETES_VERSION" \
    go mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION"
  gomod=$(sed -nE 's/^[[:space:]]*"GoMod": "(.*)",?$/\1/p' "$work/build.log" | tail -n 1)
  [[ -f $gomod ]] || die "no go.mod of k8s.io/kubernetes v$KUBERNETES_VERSION: see $work/build.log"
  printf 'require k8s.io/kubernetes v%s\nreplace (\n' "$KUBERNETES_VERSION"
  awk -v version="v$version" '$2 == "=>" && $3 ~ /^\.\/staging\// { print "\t" $1 " => " $1 " " version }' "$gomod"
  printf ')\n'
}

# new_module FOLDER: an empty module, and a look whether this Go can build it.
new_module() {
  local found
  rm -rf -- "$1"
  mkdir -p "$1/out"
  printf 'module mcpgateway.invalid/dev\n\ngo %s\n\n' "$GO_MIN_VERSION" >"$1/go.mod"
  # Asked inside the module: a Go that is too old but may fetch a newer toolchain does that here, or fails.
  found=$(cd "$1" && GOWORK=off go env GOVERSION 2>/dev/null) || found=
  found=${found%% *}
  if ! version_at_least "${found#go}" "$GO_MIN_VERSION"; then
    die "Go >= $GO_MIN_VERSION is needed, found $(cd / && go version): install a newer Go (Debian package golang-go, if it is new enough)"
  fi
}

# go_build FOLDER LDFLAGS "NAME..." PACKAGE...: builds into FOLDER/out, then moves the results into place.
# Without cgo: no C compiler is needed and the programs run on any Linux. -mod=mod lets Go fill in go.mod and go.sum.
go_build() {
  local work=$1 flags=$2 names=$3 name version
  shift 3
  version=$(pinned_version "${names%% *}")
  run_logged "$work" "compiling ${names// /, } $version" env CGO_ENABLED=0 GOOS= GOARCH= \
    nice go build -mod=mod -trimpath -buildvcs=false -ldflags "$flags" -o "$work/out/" "$@"
  # A main package is named after its folder or module; that of a program whose main is ours is ours to name.
  [[ ! -e $work/out/dev ]] || mv -f "$work/out/dev" "$work/out/$names"
  for name in $names; do
    [[ $(version_of "$name" "$work/out/$name") == "$version" ]] ||
      die "$work/out/$name does not say that it is version $version"
    # Same file system: a rename is atomic, nobody ever sees half a program under its final name.
    mv -f "$work/out/$name" "$CACHE/bin/$name-$version"
  done
  rm -rf -- "$work"
}

# run_logged FOLDER WHAT COMMAND...: output into FOLDER/build.log, a line at the start, every 20 s and at the end.
run_logged() {
  local work=$1 what=$2 start=$SECONDS ticks=0
  shift 2
  say "[${SECONDS} s] $what"
  (cd "$work" && GOWORK=off exec "$@") </dev/null >>"$work/build.log" 2>&1 {LOCK_FD}>&- &
  BUILD_PID=$!
  while kill -0 "$BUILD_PID" 2>/dev/null; do
    sleep 0.5
    ((++ticks % 40)) || say "[${SECONDS} s] still $what, $((SECONDS - start)) s so far"
  done
  if ! wait "$BUILD_PID"; then
    tail -n 20 "$work/build.log" >&2
    die "$what failed, see $work/build.log (a Go module proxy must be reachable; about 4 GB must be free)"
  fi
  BUILD_PID=
  say "[${SECONDS} s] done: $what"
}
