# shellcheck shell=bash
# Go tools that releases and some tests need. They are built once into the cache of the control plane, each in its own
# module, because a common module would need one version of every shared dependency.
# Needs versions.env, common.sh and binaries.sh.

TOOLS=(helm kubeconform promtool prometheus crane cosign krew validate-krew-manifest)

# tool_source NAME: prints module, version and package.
tool_source() {
  case $1 in
    helm) echo "helm.sh/helm/v3 $HELM_VERSION helm.sh/helm/v3/cmd/helm" ;;
    kubeconform) echo "github.com/yannh/kubeconform $KUBECONFORM_VERSION github.com/yannh/kubeconform/cmd/kubeconform" ;;
    crane) echo "github.com/google/go-containerregistry $CRANE_VERSION github.com/google/go-containerregistry/cmd/crane" ;;
    cosign) echo "github.com/sigstore/cosign/v3 $COSIGN_VERSION github.com/sigstore/cosign/v3/cmd/cosign" ;;
    krew | validate-krew-manifest) echo "sigs.k8s.io/krew $KREW_VERSION sigs.k8s.io/krew/cmd/$1" ;;
    promtool | prometheus) echo "github.com/prometheus/prometheus $PROMETHEUS_VERSION github.com/prometheus/prometheus/cmd/$1" ;;
    *) die_usage "unknown tool '$1'; expected: ${TOOLS[*]}" ;;
  esac
}

# tool_flags NAME VERSION: prints the linker flags that set the version. Runs in the module.
tool_flags() {
  local client minor package flags
  case $1 in
    helm)
      # The Kubernetes version for rendering without a cluster: that of the client library, as in official releases. The
      # default would be 1.20.
      client=$(go list -mod=mod -m -f '{{.Version}}' k8s.io/client-go)
      IFS=. read -r _ minor _ <<<"$client"
      flags="-s -w -X helm.sh/helm/v3/internal/version.version=v$2"
      for package in lint/rules chartutil; do
        flags+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$minor"
      done
      echo "$flags"
      ;;
    kubeconform) echo "-s -w -X main.version=v$2" ;;
    crane) echo "-s -w -X github.com/google/go-containerregistry/cmd/crane/cmd.Version=$2" ;;
    cosign) echo "-s -w -X sigs.k8s.io/release-utils/version.gitVersion=v$2" ;;
    krew) echo "-s -w -X sigs.k8s.io/krew/internal/version.gitTag=v$2" ;;
    validate-krew-manifest) echo "-s -w" ;;
    *) echo "-s -w -X github.com/prometheus/common/version.Version=$2" ;;
  esac
}

# tool_works NAME PATH: whether the program starts.
tool_works() {
  local arguments=(--version)
  case $1 in
    helm) arguments=(version --short) ;;
    kubeconform) arguments=(-v) ;;
    crane | cosign | krew) arguments=(version) ;;
    validate-krew-manifest) arguments=(-h) ;;
  esac
  timeout 30 "$2" "${arguments[@]}" >/dev/null 2>&1 </dev/null
}

# ensure_tools NAME...: sets TOOL_DIR, a folder with these programs. Builds missing ones.
ensure_tools() {
  local name module version package sum link missing=()
  CACHE=$(cache_root)
  for name in "$@"; do
    read -r module version package <<<"$(tool_source "$name")"
    [[ -x $CACHE/bin/$name-$version ]] || missing+=("$name")
  done
  ((${#missing[@]} == 0)) || build_tools "${missing[@]}"
  read -r sum _ < <(for name in "$@"; do echo "$name $(tool_source "$name")"; done | sort -u | cksum)
  TOOL_DIR=$CACHE/sets/tools-$sum
  mkdir -p "$TOOL_DIR"
  for name in "$@"; do
    read -r module version package <<<"$(tool_source "$name")"
    link=$TOOL_DIR/$name
    [[ $link -ef $CACHE/bin/$name-$version ]] && continue
    ln -sfn -- "$CACHE/bin/$name-$version" "$link.$$"
    mv -fT -- "$link.$$" "$link"
  done
}

build_tools() {
  local name
  need flock nice
  type -P go >/dev/null || die "'go' is missing: install Go >= $GO_MIN_VERSION (Debian package golang-go, if it is new enough)"
  mkdir -p "$CACHE/bin" "$CACHE/work"
  take_lock "$CACHE/work/lock-tools" "another process is building into $CACHE"
  trap 'stop_build' EXIT
  for name in "$@"; do build_tool "$name"; done
  trap - EXIT
  drop_lock
}

build_tool() {
  local name=$1 module version package work flags
  read -r module version package <<<"$(tool_source "$name")"
  # The previous holder of the lock may have built it.
  [[ ! -x $CACHE/bin/$name-$version ]] || return 0
  work=$CACHE/work/$name-$version
  new_module "$work"
  printf 'require %s v%s\n' "$module" "$version" >>"$work/go.mod"
  # Imports the package, so that `go mod tidy` finds its dependencies.
  printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$package" >"$work/tools.go"
  say "building $name $version from its Go module into $CACHE/bin; this happens once and takes some minutes"
  run_logged "$work" "fetching the modules of $name" go mod tidy
  flags=$(cd "$work" && GOWORK=off tool_flags "$name" "$version")
  run_logged "$work" "compiling $name $version" env CGO_ENABLED=0 GOOS= GOARCH= \
    nice go build -mod=mod -trimpath -buildvcs=false -ldflags "$flags" -o "$work/out/$name" "$package"
  tool_works "$name" "$work/out/$name" || die "$work/out/$name does not start"
  # A rename within one file system is atomic: there is never half a program under the final name.
  mv -f "$work/out/$name" "$CACHE/bin/$name-$version"
  rm -rf -- "$work"
}
