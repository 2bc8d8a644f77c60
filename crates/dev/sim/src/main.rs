//! One seed.
fn main() {}
