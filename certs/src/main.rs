//! The certificate authority on the command line.

fn main() {}
