//! The rules of a home link, case by case.

mod agents;
mod defence;
mod delivery;
mod probe;
mod support;
mod take_over;
