//! Compiles the proto files (with protox, so protoc is not needed) and records the build's commit and compiler.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

const PROTOS: [&str; 3] =
    ["tokenecho/v1/chat.proto", "tokenecho/v1/models.proto", "grpc/health/v1/health.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    compile_protos()?;
    println!("cargo:rustc-env=TOKENECHO_BUILD_COMMIT={}", commit());
    println!("cargo:rustc-env=TOKENECHO_BUILD_RUSTC={}", rustc());
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}

fn compile_protos() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    // What reflection reports, including comments.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("tokenecho.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;
    tonic_build::configure()
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .codec_path("crate::grpc::codec::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The commit: `TOKENECHO_BUILD_COMMIT` if it is set, else that of the checkout.
fn commit() -> String {
    println!("cargo:rerun-if-env-changed=TOKENECHO_BUILD_COMMIT");
    if let Ok(commit) = env::var("TOKENECHO_BUILD_COMMIT") {
        return commit;
    }
    if fs::exists(".git/HEAD").unwrap_or(false) {
        println!("cargo:rerun-if-changed=.git/HEAD");
        println!("cargo:rerun-if-changed=.git/refs/heads");
    }
    output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into())
}

fn rustc() -> String {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = output(&rustc, &["--version"]).unwrap_or_else(|| "rustc unknown".into());
    version.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
