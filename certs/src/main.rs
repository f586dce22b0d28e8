//! `portcullis-certs`: the certificate authority on the command line. Its verbs are in [`certs::cli`].

fn main() -> std::process::ExitCode {
    certs::cli::main()
}
