//! Small histories made by hand, and large ones made by a reference model.

mod by_hand;
mod changes;
mod make;
mod model;
mod program;
mod random;
mod restored;
mod unusable;
