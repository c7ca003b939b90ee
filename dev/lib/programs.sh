# shellcheck shell=bash
# Builds the static programs in images and releases, for amd64 and arm64. One commit and one compiler give the same
# bytes in every folder. Needs common.sh; ROOT is the checkout.

ARCHITECTURES=(amd64 arm64)

rust_target() {
  case $1 in
    amd64) echo x86_64-unknown-linux-musl ;;
    arm64) echo aarch64-unknown-linux-musl ;;
    *) die_usage "unknown architecture '$1'; expected: ${ARCHITECTURES[*]}" ;;
  esac
}

target_folder() { absolute "${CARGO_TARGET_DIR:-$ROOT/target}"; }

# need_target ARCHITECTURE: installs the C compiler and Rust's target if they are missing.
need_target() {
  local target missing=()
  target=$(rust_target "$1")
  case $1 in
    amd64) command -v musl-gcc >/dev/null || missing+=(musl-tools) ;;
    arm64)
      command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(gcc-aarch64-linux-gnu)
      [[ -e /usr/lib/aarch64-linux-musl/musl-gcc.specs ]] || missing+=(musl-dev:arm64)
      ;;
  esac
  command -v make >/dev/null || missing+=(make)
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
  [[ -d $(rustc --print sysroot)/lib/rustlib/$target ]] || rustup target add "$target" >&2 ||
    die "Rust's target $target is missing: rustup target add $target"
}

# build ARCHITECTURE ARGUMENT...: one program at a time, because a common build would unify features.
build() {
  local target out cargo rust
  target=$(rust_target "$1") out=$(target_folder) cargo=$(home_path CARGO_HOME .cargo)
  shift
  # Messages of panics have the paths of source files. Of several prefixes that fit, the last counts.
  rust=$(printf -- '--remap-path-prefix=%s\037' "$ROOT=/source" "$cargo=/cargo" "$out=/target")
  say "building ${*: -1} for $target (a release build takes minutes)"
  # The compiler by its name, because configure scripts split a path at its blanks.
  (cd "$ROOT" && PATH=$DEV/lib:$PATH CARGO_ENCODED_RUSTFLAGS=${rust%$'\037'} \
    CC_aarch64_unknown_linux_musl=aarch64-linux-musl-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc \
    cargo build --locked --release --quiet --target "$target" "$@" >&2)
}

# built ARCHITECTURE NAME: prints the path of a built program.
built() { printf '%s/%s/release/%s\n' "$(target_folder)" "$(rust_target "$1")" "$2"; }
