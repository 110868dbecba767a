//! The binary; it does nothing yet.

fn main() {}
