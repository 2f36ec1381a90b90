//! Many short queues of events in one place: a window of a key takes no memory of its own, whatever it holds.
//!
//! ```text
//!  window 1 ─▶ [9:00] ─▶ [9:20]            cells:  [9:00][9:05][9:20][    ][9:40] …   each knows the next of its queue
//!  window 2 ─▶ [9:05] ─▶ [9:40]                                       free ─▶ the next free one
//! ```

use crate::operator::pattern::kept_rows::{Handle, NO_ROW};

/// No cell.
const NONE: u32 = u32::MAX;

/// A queue: oldest event first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    first: u32,
    last: u32,
    len: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { first: NONE, last: NONE, len: 0 }
    }
}

impl Queue {
    /// How many events are in it.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    time: i64,
    event: Handle,
    next: u32,
}

/// The events of all queues.
#[derive(Debug)]
pub(super) struct Queues {
    cells: Vec<Cell>,
    /// The cell that is used next; others follow it.
    free: u32,
}

impl Default for Queues {
    fn default() -> Self {
        Queues { cells: Vec::new(), free: NONE }
    }
}

impl Queues {
    /// Adds an event at the end.
    pub(super) fn push(&mut self, queue: &mut Queue, (time, event): (i64, Handle)) {
        let cell = Cell { time, event, next: NONE };
        let place = if self.free == NONE {
            self.cells.push(cell);
            self.cells.len() as u32 - 1
        } else {
            let place = self.free;
            self.free = self.cells[place as usize].next;
            self.cells[place as usize] = cell;
            place
        };
        match queue.len {
            0 => queue.first = place,
            _ => self.cells[queue.last as usize].next = place,
        }
        queue.last = place;
        queue.len += 1;
    }

    /// Takes the oldest event.
    pub(super) fn pop(&mut self, queue: &mut Queue) -> Option<(i64, Handle)> {
        let place = queue.first;
        let cell = (queue.len > 0).then(|| self.cells[place as usize])?;
        self.cells[place as usize] = Cell { time: 0, event: NO_ROW, next: self.free };
        self.free = place;
        queue.first = cell.next;
        queue.len -= 1;
        Some((cell.time, cell.event))
    }

    /// The oldest event.
    pub(super) fn first(&self, queue: &Queue) -> Option<(i64, Handle)> {
        (queue.len > 0).then(|| &self.cells[queue.first as usize]).map(|cell| (cell.time, cell.event))
    }

    /// The newest event.
    pub(super) fn last(&self, queue: &Queue) -> Option<(i64, Handle)> {
        (queue.len > 0).then(|| &self.cells[queue.last as usize]).map(|cell| (cell.time, cell.event))
    }

    /// All events, oldest first.
    pub(super) fn iter(&self, queue: &Queue) -> impl Iterator<Item = (i64, Handle)> {
        let mut next = queue.first;
        (0..queue.len).map(move |_| {
            let cell = &self.cells[next as usize];
            next = cell.next;
            (cell.time, cell.event)
        })
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.cells.len() * size_of::<Cell>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn queues_that_share_their_cells_do_not_mix() {
        let mut queues = Queues::default();
        let mut kept: [(Queue, VecDeque<(i64, Handle)>); 5] = std::array::from_fn(|_| Default::default());
        for step in 0..2_000_i64 {
            let (queue, expected) = &mut kept[(step * 7 % 5) as usize];
            if step * 31 % 11 < 6 {
                queues.push(queue, (step, step as Handle));
                expected.push_back((step, step as Handle));
            } else {
                assert_eq!(queues.pop(queue), expected.pop_front());
            }
            assert_eq!(
                (queue.len(), queues.first(queue), queues.last(queue)),
                (expected.len(), expected.front().copied(), expected.back().copied())
            );
            assert!(queues.iter(queue).eq(expected.iter().copied()));
        }
        let longest: usize = kept.iter().map(|(_, expected)| expected.len()).sum();
        assert!(queues.cells.len() < 2 * longest.max(500), "cells are used again");
    }
}
