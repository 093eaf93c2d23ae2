//! What may happen next, and what it does.

use super::FleetModel;
use super::log::Disk;
use super::plane::Plane;
use super::process::{Call, Frame, Process, Stream};
use super::state::State;

/// Something that happens. Edges and control planes go by number. What does not happen
/// is a delay, a pause or a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// All clocks move on.
    Tick,
    /// An edge process starts.
    Start(usize),
    /// An edge sends a heartbeat.
    Beat(usize),
    /// It arrives at a control plane.
    Receive(usize, usize),
    /// The answer arrives.
    Answer(usize),
    /// The edge gives its heartbeat up; it may still arrive, or a second time.
    GiveUp(usize),
    /// A heartbeat arrives that nobody waits for any more.
    ReceiveLate(usize, usize),
    /// An edge drains.
    Leave(usize),
    /// What it says then arrives at a control plane.
    ReceiveFarewell(usize, usize),
    /// An edge subscribes.
    Subscribe(usize, usize),
    /// The control plane sends the next frame.
    Send(usize),
    /// A frame arrives.
    Deliver(usize),
    /// A stream breaks.
    Break(usize),
    /// The era is raised after the cursor was adopted: without `era_before_cursor`.
    RaiseLater(usize),
    /// A backend has changed its data and calls Invalidate; the command is durable.
    Invalidate(usize),
    /// A call is answered `COMPLETE`.
    Complete(usize, u8),
    /// The control plane is gone.
    Crash(usize),
    /// It starts again.
    Restart(usize),
    /// Another one takes its volume over; it does not notice.
    HandOver,
    /// Somebody takes a backup.
    Backup,
    /// It is restored, which mints a new epoch.
    Restore,
    /// It comes back without a word.
    RollBack,
    /// The data folder is lost, and an empty one takes its place.
    Wipe,
    /// Old records are removed from the log.
    Trim,
}

impl FleetModel {
    pub(super) fn possible(&self, state: &State, out: &mut Vec<Action>) {
        out.push(Action::Tick);
        for process in 0..self.bounds.processes {
            self.of_process(state, process, out);
        }
        for (at, plane) in state.planes.iter().enumerate().filter(|(_, p)| p.up) {
            if plane.attached && state.issued < self.bounds.invalidations {
                out.push(Action::Invalidate(at));
            }
            for invalidation in 0..state.issued {
                let revision = state.disk.revision_of(invalidation);
                let is_open = state.completed & 1 << invalidation == 0;
                let may = |r| r <= plane.head && plane.may_complete(r, &self.guards);
                if is_open && revision.is_some_and(may) {
                    out.push(Action::Complete(at, invalidation));
                }
            }
            if state.restarts < self.bounds.restarts {
                out.push(Action::Crash(at));
            }
        }
        self.of_disk(state, out);
    }

    fn of_process(&self, state: &State, at: usize, out: &mut Vec<Action>) {
        let process = &state.processes[at];
        let planes = || (0..2).filter(|plane| state.planes[*plane].up);
        if process.late.is_some() {
            out.extend(planes().map(|plane| Action::ReceiveLate(at, plane)));
        }
        if !process.is_up {
            // Which of them starts first makes no difference.
            if at == 0 || state.processes[at - 1].is_up {
                out.push(Action::Start(at));
            }
            return;
        }
        if process.farewell {
            out.extend(planes().map(|plane| Action::ReceiveFarewell(at, plane)));
        }
        if self.bounds.leaves && !process.leaving {
            out.push(Action::Leave(at));
        }
        match process.call {
            None if process.leaving => {}
            None if process.position.is_some() => out.push(Action::Beat(at)),
            None => {}
            Some(call) => {
                if call.answer.is_some() {
                    out.push(Action::Answer(at));
                } else {
                    out.extend(planes().map(|plane| Action::Receive(at, plane)));
                }
                out.push(Action::GiveUp(at));
            }
        }
        match &process.stream {
            None => out.extend(planes().map(|plane| Action::Subscribe(at, plane))),
            Some(stream) => {
                if self.bounds.breaks {
                    out.push(Action::Break(at));
                }
                if stream.frame.is_some() {
                    out.push(Action::Deliver(at));
                } else if self.next_frame(state, process, stream).is_some() {
                    out.push(Action::Send(at));
                }
            }
        }
        if process.raise_later {
            out.push(Action::RaiseLater(at));
        }
    }

    fn of_disk(&self, state: &State, out: &mut Vec<Action>) {
        let is_down = state.planes.iter().all(|plane| !plane.up);
        let [first, second] = &state.planes;
        if is_down {
            out.push(Action::Restart(0));
            if state.backup.is_some() && self.bounds.restore {
                out.push(Action::Restore);
            }
            if state.backup.is_some() && self.bounds.roll_back {
                out.push(Action::RollBack);
            }
            if self.bounds.wipe && state.epochs == 0 {
                out.push(Action::Wipe);
            }
        } else {
            if self.bounds.handover && first.up && second.term == 0 {
                out.push(Action::HandOver);
            }
            let may_back_up = self.bounds.restore || self.bounds.roll_back;
            if may_back_up && state.backup.is_none() && state.epochs == 0 && state.restarts == 0 {
                out.push(Action::Backup);
            }
            if state.trims < self.bounds.trims {
                out.push(Action::Trim);
            }
        }
    }

    pub(super) fn after(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        let all = next.invalidated();
        match action {
            Action::Tick => next.tick(self.bounds.staleness),
            Action::Start(at) => next.processes[at].start(all),
            Action::Beat(at) => {
                let process = &mut next.processes[at];
                process.call = process.position.map(|cursor| Call {
                    cursor,
                    age: 0,
                    same_era: true,
                    answer: None,
                });
            }
            Action::Receive(at, plane) => {
                if let Some(call) = state.processes[at].call {
                    let granted = self.heartbeat(&mut next, at, plane, call.cursor);
                    next.processes[at].call = Some(Call {
                        answer: Some(granted),
                        ..call
                    });
                }
            }
            Action::Answer(at) => {
                let process = &mut next.processes[at];
                if let Some(call) = process.call.take() {
                    process.answered(call, call.answer.flatten(), &self.guards);
                }
            }
            Action::GiveUp(at) => {
                let process = &mut next.processes[at];
                let call = process.call.take();
                process.late = call.map(|call| call.cursor);
                self.keep_late(process);
            }
            Action::ReceiveLate(at, plane) => {
                if let Some(cursor) = next.processes[at].late.take() {
                    self.heartbeat(&mut next, at, plane, cursor);
                }
            }
            Action::Leave(at) => {
                let process = &mut next.processes[at];
                process.leave(&self.guards);
                self.keep_late(process);
            }
            Action::ReceiveFarewell(at, plane) => {
                next.processes[at].farewell = false;
                next.planes[plane].give_back(&mut next.disk, at);
            }
            Action::Subscribe(at, plane) => {
                if let Some(cursor) = state.processes[at].position {
                    self.look_for_loss(&mut next, plane, cursor);
                }
                let stream = self.subscribed(&next, at, plane);
                next.processes[at].stream = Some(stream);
            }
            Action::Send(at) => {
                let frame = next.processes[at]
                    .stream
                    .and_then(|stream| self.next_frame(state, &state.processes[at], &stream));
                if let Some(stream) = &mut next.processes[at].stream {
                    stream.frame = frame;
                }
            }
            Action::Deliver(at) => self.deliver(&mut next.processes[at], all),
            Action::Break(at) => next.processes[at].stream = None,
            Action::RaiseLater(at) => {
                let process = &mut next.processes[at];
                let position = process.position;
                process.raise_era(all);
                process.position = position;
                process.raise_later = false;
            }
            Action::Invalidate(plane) => {
                let term = next.planes[plane].term;
                let head = next.disk.append(term, Some(next.issued));
                next.issued += 1;
                next.planes[plane].head = head;
                next.planes[plane].written = 0;
            }
            Action::Complete(plane, invalidation) => {
                next.completed |= 1 << invalidation;
                let revision = next.disk.revision_of(invalidation).unwrap_or(0);
                let plane = &mut next.planes[plane];
                plane.min_applied = plane.min_applied.max(revision);
            }
            Action::Crash(plane) => {
                next.restarts += 1;
                next.planes[plane] = Plane::none();
            }
            Action::Restart(plane) => {
                self.begin(&mut next, plane);
            }
            Action::HandOver => {
                next.planes[0].attached = false;
                self.begin(&mut next, 1);
            }
            Action::Backup => next.backup = Some(next.disk.clone()),
            Action::Restore => {
                if let Some(backup) = next.backup.take() {
                    next.disk = backup;
                    next.epochs += 1;
                    next.disk.epoch = next.epochs;
                    next.disk.unknown = true;
                }
            }
            Action::RollBack => {
                if let Some(backup) = next.backup.take() {
                    let leases = next.disk.leases;
                    next.disk = backup;
                    if !self.bounds.roll_back_forgets {
                        next.disk.leases = leases;
                    }
                    // What the disk lost without a word, nobody can know of.
                    next.completed &= next.disk.all();
                }
            }
            Action::Wipe => {
                next.disk = Disk::new();
                next.epochs += 1;
                next.disk.epoch = next.epochs;
                next.disk.unknown = self.guards.new_folder_waits;
            }
            Action::Trim => {
                next.trims += 1;
                next.disk.floor = next.disk.head();
            }
        }
        next
    }

    fn begin(&self, next: &mut State, plane: usize) {
        next.terms += 1;
        let term = next.terms;
        next.planes[plane] = Plane::begin(&mut next.disk, term, &self.guards);
    }

    fn keep_late(&self, process: &mut Process) {
        if !self.bounds.late_heartbeats {
            process.late = None;
        }
    }

    fn heartbeat(
        &self,
        next: &mut State,
        at: usize,
        plane: usize,
        cursor: super::log::Cursor,
    ) -> Option<u8> {
        self.look_for_loss(next, plane, cursor);
        let by_edge = self.bounds.same_edge && !self.guards.acks_by_instance;
        let who = if by_edge { 0 } else { at };
        next.planes[plane].heartbeat(&mut next.disk, who, cursor, &self.guards)
    }

    /// `Fleet::look_for_loss`: nothing is granted or complete any more, until another
    /// history has begun, which needs the volume.
    fn look_for_loss(&self, next: &mut State, at: usize, cursor: super::log::Cursor) {
        let State {
            disk,
            planes,
            epochs,
            terms,
            ..
        } = next;
        let plane = &mut planes[at];
        if !disk.shows_loss(cursor, plane.head, plane.term, &self.guards) {
            return;
        }
        plane.is_lost = true;
        if plane.attached {
            *epochs += 1;
            *terms += 1;
            disk.epoch = *epochs;
            plane.begin_history(disk, *terms, &self.guards);
        }
    }

    /// `Fleet::start_of`: how a stream begins.
    fn subscribed(&self, state: &State, at: usize, plane: usize) -> Stream {
        let from = &state.planes[plane];
        let resumes = state.processes[at].position.is_some_and(|cursor| {
            let located = state.disk.locate(cursor, from.head, &self.guards);
            located.is_ok()
        });
        Stream {
            plane,
            term: from.term,
            epoch: state.disk.epoch,
            in_snapshot: false,
            frame: Some(if resumes { Frame::Resume } else { Frame::Reset }),
        }
    }

    /// What a frame does: `Subscriber::begin`, `adopt` and `apply`.
    fn deliver(&self, process: &mut Process, invalidated: u8) {
        let Some(mut stream) = process.stream else {
            return;
        };
        let Some(frame) = stream.frame.take() else {
            return;
        };
        process.stream = Some(stream);
        match frame {
            Frame::Resume => {
                let epoch = process.position.map(|at| at.epoch);
                if self.guards.epoch_check && epoch != Some(stream.epoch) {
                    process.stream = None;
                }
            }
            Frame::Reset => {
                if self.guards.era && self.guards.era_before_cursor {
                    process.raise_era(invalidated);
                }
                stream.in_snapshot = true;
                process.stream = Some(stream);
            }
            Frame::SnapshotEnd(cursor) => {
                stream.in_snapshot = false;
                process.stream = Some(stream);
                if !self.guards.era {
                    process.show(cursor);
                } else if !self.guards.era_before_cursor {
                    process.show(cursor);
                    process.raise_later = true;
                } else if self.guards.era_again {
                    process.begin(cursor, invalidated);
                } else {
                    process.show(cursor);
                }
            }
            Frame::Batch {
                from,
                to,
                invalidation,
            } => {
                let follows = process.position.is_some_and(|at| at.revision == from);
                if !follows {
                    process.stream = None;
                    return;
                }
                if let Some(invalidation) = invalidation {
                    process.covered |= 1 << invalidation;
                }
                process.show(to);
            }
        }
    }

    /// What the control plane would send next: `Stream::send_all`.
    fn next_frame(&self, state: &State, process: &Process, stream: &Stream) -> Option<Frame> {
        let plane = &state.planes[stream.plane];
        if !plane.up || plane.term != stream.term {
            return None;
        }
        if stream.in_snapshot {
            return Some(Frame::SnapshotEnd(state.disk.cursor_at(plane.head)));
        }
        let from = process.position?.revision;
        let is_gone = from < state.disk.floor;
        if from >= plane.head || (is_gone && self.guards.floor_check) {
            return None;
        }
        let to = from.max(state.disk.floor.min(plane.head - 1)) + 1;
        Some(Frame::Batch {
            from,
            to: state.disk.cursor_at(to),
            invalidation: state.disk.record(to)?.invalidation,
        })
    }
}
