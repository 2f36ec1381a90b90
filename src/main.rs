//! Eagre.
fn main() {}
