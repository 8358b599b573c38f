//! Compiles the XDP programs with clang.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const PROGRAMS: [&str; 3] = ["reflector", "sender", "drop"];
const HEADERS: [&str; 4] = ["parse.h", "policer.h", "shared.h", "steer.h"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    // clang for the BPF target does not search the multiarch directory that holds <asm/types.h>.
    let multiarch = format!(
        "/usr/include/{}-linux-gnu",
        env::var("CARGO_CFG_TARGET_ARCH")?
    );

    for program in PROGRAMS {
        let source = format!("{program}.bpf.c");
        SkeletonBuilder::new()
            .source(&source)
            .obj(out.join(format!("{program}.bpf.o")))
            .clang_args([
                "-Wall", "-Wextra", "-Werror",
                // Atomic compare-and-swap, for policers: Linux 5.12.
                "-mcpu=v3", "-I", &multiarch,
            ])
            .build()
            .map_err(|error| {
                format!(
                    "{source} does not compile: {error:#}. The XDP programs need clang and the \
                     kernel headers: run scripts/install-deps --build"
                )
            })?;
        println!("cargo:rerun-if-changed={source}");
    }
    for header in HEADERS {
        println!("cargo:rerun-if-changed={header}");
    }
    Ok(())
}
