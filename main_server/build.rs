//! `sqlx::migrate!` reads a folder that cargo does not watch by itself.

#[expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]
fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
