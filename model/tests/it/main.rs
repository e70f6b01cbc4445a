//! Searches: that everything holds, that every task ends, and that the model would tell if it were otherwise.

mod bites;
mod ends;
mod holds;
mod routing;
