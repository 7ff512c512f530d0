//! What an exchange costs on an HTTP/1.1 connection.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

fn main() {
    divan::main();
}
