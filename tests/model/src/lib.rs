//! The invalidation protocol, small enough that every state it can come into is looked
//! at.
//!
//! Tidegate promises that nobody is served the old content once `Invalidate` has answered
//! `COMPLETE`. Tests of the real programs try this under many faults; a model tries **all**
//! orders of events, within bounds: every crash, every delay, every message that overtakes
//! another. It is as good as it is like the programs, so each action and each rule names
//! the code that it stands for: **who changes that code changes the model with it**.
//!
//! There are two models, because one of everything would be too large to look at whole:
//!
//! - [`fleet`]: control plane, edges, streams, heartbeats, leases, histories. What an edge
//!   holds is reduced to one set: the invalidations that no copy of it is behind.
//! - [`fill`]: the cache of one edge with its fetches and requests, tags and marks. The
//!   control plane is reduced to the order in which the edge applies, is reset, and loses
//!   and regains its lease.
//!
//! # Why the two together are the promise
//!
//! An edge *covers* an invalidation if it has applied it, or has begun (empty) or raised
//! its era after it was called.
//!
//! 1. [`fleet`] shows: an edge that holds a lease covers everything that was ever called
//!    complete, and its position never passes an invalidation that it does not cover.
//! 2. [`fill`] shows: an edge that holds a lease when a request arrives gives it nothing
//!    older than what the edge covers then; one without a lease gives it only what was
//!    fetched or validated after the request arrived. And nothing that would be used as
//!    fresh is older than what the edge covers.
//!
//! So a request that arrives after an invalidation was called complete is either answered
//! by an edge that covers it, or with what was read later (P2, P4). What each model takes
//! for granted, the other shows: [`fill`] lets an edge regain its lease only once it has
//! applied what may be complete, which is 1; [`fleet`] lets an edge cover what it has
//! applied or raised its era after, which is 2.
//!
//! # What is bounded
//!
//! One or two edge processes, up to two or three invalidations, one crash, restore or
//! hand-over a run ([`fleet::Bounds`]); two fetches and two requests at once, two or three
//! in all ([`fill::Bounds`]). Time has no bound: it is counted in ticks that are left, so
//! the states repeat. A pause, a partition and a lost message are the same in a model: what
//! may happen does not. An edge that crashed is one that does nothing any more; that its
//! lease still counts as if it served asks for more than is needed. Interchangeable edges
//! start, and interchangeable requests take their places, in one order. Nothing else is
//! taken for symmetric.
//!
//! States are told apart by 64-bit hashes: that two of ten million have the same one, so
//! that one is overlooked, has a chance below one in 300,000.
//!
//! # How to run it
//!
//! The tests look at every state of every configuration of `Bounds::checked`, and show for
//! each rule that the checker finds a broken promise without it. The same with figures, and
//! larger:
//!
//! ```text
//! cargo run -p tidegate-model --release
//! cargo run -p tidegate-model --release -- --larger
//! cargo run -p tidegate-model --release -- --depth 30 larger-handover
//! ```

pub mod check;
pub mod fill;
pub mod fleet;
