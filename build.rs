//! Embeds the built page (`src/web/ui/dist`) into the binary.
//!
//! Comes in: what `make ui` wrote. Goes out: a table of files for
//! `src/web/page.rs`. A missing page fails the build with its remedy.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

const DIST: &str = "src/web/ui/dist";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={DIST}");
    if let Err(error) = embed() {
        println!(
            "cargo::error=the page is not built: {DIST}: {error}. Run `make ui` (scripts/ui) first."
        );
    }
}

fn embed() -> io::Result<()> {
    let root = PathBuf::from(env("CARGO_MANIFEST_DIR")?).join(DIST);
    let mut table = String::from("static FILES: &[File] = &[\n");
    add(&mut table, "/", &root.join("index.html"))?;
    let mut assets: Vec<PathBuf> = fs::read_dir(root.join("assets"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    assets.sort();
    for path in assets.iter().filter(|p| p.extension().is_none_or(|e| e != "gz")) {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        add(&mut table, &format!("/assets/{name}"), path)?;
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(env("OUT_DIR")?).join("page_files.rs"), table)
}

fn env(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(io::Error::other)
}

fn add(table: &mut String, url: &str, file: &Path) -> io::Result<()> {
    let gzip = PathBuf::from(format!("{}.gz", file.display()));
    if !gzip.is_file() {
        return Err(io::Error::other(format!("{} is missing", gzip.display())));
    }
    let mut hasher = DefaultHasher::new();
    fs::read(file)?.hash(&mut hasher);
    let _ = writeln!(
        table,
        "    File {{ url: {url:?}, etag: \"{:016x}\", plain: include_bytes!({file:?}), gzip: include_bytes!({gzip:?}) }},",
        hasher.finish(),
    );
    Ok(())
}
