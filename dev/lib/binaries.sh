# shellcheck shell=bash
# Finds etcd, kube-apiserver and kubectl, or builds them once into a cache outside the checkout.
# Finished binaries are not downloaded, because a locked-down machine may only reach a Go module proxy.

# What every instance needs. One with a node also needs those of node-binaries.sh.
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

# version_of NAME PATH: prints the version that the program reports, or nothing.
version_of() {
  local arguments=(--version)
  [[ $1 == kubectl ]] && arguments=(version --client)
  # With a time limit, because a program of that name on PATH may be anything.
  timeout 10 "$2" "${arguments[@]}" 2>/dev/null </dev/null |
    sed -nE '1,3s/^(Kubernetes |Client Version: |etcd Version: |CoreDNS-)v?([0-9]+\.[0-9]+\.[0-9]+).*/\2/p' | head -n 1 || true
}

# version_fits NAME VERSION: kube-apiserver and kubectl must be within one minor version of the pinned one (the skew
# that Kubernetes supports between the two), and etcd must not be too old.
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

# take_if_fitting NAME PATH: sets FOUND[NAME] and FOUND_VERSION[NAME], or reports why this one is not used.
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

# find_binary NAME: looks in KUBEBUILDER_ASSETS, then for an earlier build of the pinned version, then on PATH.
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

# ensure_binaries: sets BIN_DIR, a folder with the programs, and FOUND_VERSION. Builds missing ones.
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

# link_binaries: makes one folder per set of programs, for PATH. Links are replaced by renaming, because another caller
# may be starting the same programs.
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
  # The previous holder of the lock may have built them.
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
  say "building $list from Go modules, because no binary of a suitable version was found"
  say "this happens once and takes 6 to 9 minutes on 2 cores; the result goes to $CACHE/bin"
}

build_missing() {
  local name kubernetes=()
  type -P go >/dev/null ||
    die "'go' is missing: install Go >= $GO_MIN_VERSION (Debian package golang-go, if it is new enough), or set KUBEBUILDER_ASSETS to a folder with ${BINARIES[*]}"
  # Interrupting the script also stops the compiler.
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

# Each is built in its own module, because a common module would need one version of every shared dependency.
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

# staging_module_lines FOLDER. k8s.io/kubernetes v1.X.Y takes its sibling modules from its own tree. That does not work
# for a dependency, so each needs a replace line for the published module, v0.X.Y. The list is in the release's go.mod.
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

# new_module FOLDER: creates an empty module, and checks that this Go can build it.
new_module() {
  local found
  rm -rf -- "$1"
  mkdir -p "$1/out"
  printf 'module mcpgateway.invalid/dev\n\ngo %s\n\n' "$GO_MIN_VERSION" >"$1/go.mod"
  # Inside the module, where an old Go fetches a newer toolchain, or fails.
  found=$(cd "$1" && GOWORK=off go env GOVERSION 2>/dev/null) || found=
  found=${found%% *}
  if ! version_at_least "${found#go}" "$GO_MIN_VERSION"; then
    die "Go >= $GO_MIN_VERSION is needed, found $(cd / && go version): install a newer Go (Debian package golang-go, if it is new enough)"
  fi
}

# go_build FOLDER LDFLAGS "NAME..." PACKAGE...: builds into FOLDER/out, then moves the results into the cache. Without
# cgo, so that no C compiler is needed and the programs run on any Linux. -mod=mod lets Go complete go.mod and go.sum.
go_build() {
  local work=$1 flags=$2 names=$3 name version
  shift 3
  version=$(pinned_version "${names%% *}")
  run_logged "$work" "compiling ${names// /, } $version" env CGO_ENABLED=0 GOOS= GOARCH= \
    nice go build -mod=mod -trimpath -buildvcs=false -ldflags "$flags" -o "$work/out/" "$@"
  # A program is named after its folder or module. If we wrote its main package, that is `dev`.
  [[ ! -e $work/out/dev ]] || mv -f "$work/out/dev" "$work/out/$names"
  for name in $names; do
    [[ $(version_of "$name" "$work/out/$name") == "$version" ]] ||
      die "$work/out/$name does not report version $version"
    # A rename within one file system is atomic: there is never half a program under the final name.
    mv -f "$work/out/$name" "$CACHE/bin/$name-$version"
  done
  rm -rf -- "$work"
}

# run_logged FOLDER WHAT COMMAND...: writes the output to FOLDER/build.log. Prints a line at the start, every 20 s and
# at the end.
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
