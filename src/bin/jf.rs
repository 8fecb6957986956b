//! The `jf` command.

fn main() {}
