//! Four programs of the Savina suite (Imam and Sarkar, AGERE 2014), each written once: [`Part`] is what an
//! actor does with a message, whatever library runs it. `ours` and `rivals` create the parts and carry the
//! messages.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Actors of each program, as in the suite.
pub(super) const CREATURES: u64 = 100;
pub(super) const ACCOUNTS: usize = 1_000;
pub(super) const PHILOSOPHERS: usize = 20;
pub(super) const QUEENS_WORKERS: usize = 20;
/// Rows that are divided into messages; the rest is searched in one piece.
const QUEENS_DIVIDED: usize = 4;

/// A board: the column of the queen in each row so far.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Board {
    columns: [u8; 16],
    rows: u8,
}

/// A message; `L` is a library's reference to an actor.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Word<L> {
    Begin,
    // chameneos
    Meet(L, u8),
    Color(u8),
    Over,
    Met(u64),
    // banking
    Credit { to: L, amount: u64, teller: L },
    Debit { amount: u64, from: L },
    Debited,
    Transferred,
    // philosopher
    Hungry(u32, L),
    Eat,
    Denied,
    Eaten(u32),
    Left,
    // nqueenk
    Workers(Vec<L>),
    Search(Board, u8),
    Divided(Board),
    Searched(u64),
}

/// An actor of one of the programs.
pub(super) enum Part<L> {
    Mall { meetings: u64, waiting: Option<(L, u8)>, creatures: u64, met: u64 },
    Creature { mall: L, color: u8, met: u64 },
    Teller { accounts: Vec<L>, begun: u64, left: u64 },
    Account { balance: u64, under_way: Option<L>, queue: VecDeque<(L, u64, L)> },
    Arbiter { forks: Vec<bool>, philosophers: usize },
    Philosopher { number: u32, rounds: u64, arbiter: L },
    Master { workers: Vec<L>, next: usize, size: u8, under_way: u64, solutions: u64 },
    Worker { master: L },
}

impl<L: Clone> Part<L> {
    pub(super) fn mall(meetings: u64) -> Self {
        Self::Mall { meetings, waiting: None, creatures: CREATURES, met: 0 }
    }

    pub(super) fn account() -> Self {
        Self::Account { balance: 1 << 40, under_way: None, queue: VecDeque::new() }
    }

    pub(super) fn arbiter() -> Self {
        Self::Arbiter { forks: vec![false; PHILOSOPHERS], philosophers: PHILOSOPHERS }
    }

    pub(super) fn master(size: u8) -> Self {
        Self::Master { workers: Vec::new(), next: 0, size, under_way: 0, solutions: 0 }
    }

    /// Handles one message; whether the program has ended.
    #[inline]
    pub(super) fn handle(
        &mut self,
        word: Word<L>,
        me: impl FnOnce() -> L,
        tell: &mut impl FnMut(&L, Word<L>),
    ) -> bool {
        match self {
            Self::Mall { .. } | Self::Creature { .. } => self.chameneos(word, me, tell),
            Self::Teller { .. } | Self::Account { .. } => self.banking(word, me, tell),
            Self::Philosopher { .. } | Self::Arbiter { .. } => self.philosophers(word, me, tell),
            Self::Master { .. } | Self::Worker { .. } => self.queens(word, tell),
        }
    }

    /// Creatures meet in pairs at a mall.
    #[inline]
    fn chameneos(
        &mut self,
        word: Word<L>,
        me: impl FnOnce() -> L,
        tell: &mut impl FnMut(&L, Word<L>),
    ) -> bool {
        match (self, word) {
            (Self::Mall { meetings, waiting, .. }, Word::Meet(from, color)) => {
                if *meetings == 0 {
                    tell(&from, Word::Over);
                } else if let Some((other, its)) = waiting.take() {
                    *meetings -= 1;
                    tell(&other, Word::Color(color));
                    tell(&from, Word::Color(its));
                } else {
                    *waiting = Some((from, color));
                }
                // The one that waits when the last meeting is over meets nobody.
                if *meetings == 0
                    && let Some((other, _)) = waiting.take()
                {
                    tell(&other, Word::Over);
                }
            }
            (Self::Mall { creatures, met, .. }, Word::Met(count)) => {
                *met += count;
                *creatures -= 1;
                return *creatures == 0;
            }
            (Self::Creature { mall, color, .. }, Word::Begin) => tell(mall, Word::Meet(me(), *color)),
            (Self::Creature { mall, color, met }, Word::Color(other)) => {
                // The third color, unless both are alike.
                *color = if *color == other { other } else { 3 - *color - other };
                *met += 1;
                tell(mall, Word::Meet(me(), *color));
            }
            (Self::Creature { mall, met, .. }, Word::Over) => tell(mall, Word::Met(*met)),
            _ => {}
        }
        false
    }

    /// A teller has accounts transfer to each other.
    #[inline]
    fn banking(&mut self, word: Word<L>, me: impl FnOnce() -> L, tell: &mut impl FnMut(&L, Word<L>)) -> bool {
        match (self, word) {
            (Self::Teller { accounts, begun, .. }, Word::Begin) => {
                let teller = me();
                for number in 0..*begun {
                    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
                    let from = random as usize % (ACCOUNTS - 1);
                    let to = from + 1 + (random >> 12) as usize % (ACCOUNTS - 1 - from);
                    let (to, teller) = (accounts[to].clone(), teller.clone());
                    tell(&accounts[from], Word::Credit { to, amount: random % 100, teller });
                }
            }
            (Self::Teller { left, .. }, Word::Transferred) => {
                *left -= 1;
                return *left == 0;
            }
            (Self::Account { under_way: Some(_), queue, .. }, Word::Credit { to, amount, teller }) => {
                queue.push_back((to, amount, teller));
            }
            (Self::Account { balance, under_way, .. }, Word::Credit { to, amount, teller }) => {
                *balance -= amount;
                *under_way = Some(teller);
                tell(&to, Word::Debit { amount, from: me() });
            }
            (Self::Account { balance, .. }, Word::Debit { amount, from }) => {
                *balance += amount;
                tell(&from, Word::Debited);
            }
            (Self::Account { balance, under_way, queue }, Word::Debited) => {
                if let Some(teller) = under_way.take() {
                    tell(&teller, Word::Transferred);
                }
                if let Some((to, amount, teller)) = queue.pop_front() {
                    *balance -= amount;
                    *under_way = Some(teller);
                    tell(&to, Word::Debit { amount, from: me() });
                }
            }
            _ => {}
        }
        false
    }

    /// Philosophers ask an arbiter for their forks.
    #[inline]
    fn philosophers(
        &mut self,
        word: Word<L>,
        me: impl FnOnce() -> L,
        tell: &mut impl FnMut(&L, Word<L>),
    ) -> bool {
        match (self, word) {
            (Self::Philosopher { number, arbiter, .. }, Word::Begin | Word::Denied) => {
                tell(arbiter, Word::Hungry(*number, me()));
            }
            (Self::Philosopher { number, rounds, arbiter }, Word::Eat) => {
                *rounds -= 1;
                tell(arbiter, Word::Eaten(*number));
                tell(arbiter, if *rounds == 0 { Word::Left } else { Word::Hungry(*number, me()) });
            }
            (Self::Arbiter { forks, .. }, Word::Hungry(number, from)) => {
                let (left, right) = (number as usize, (number as usize + 1) % forks.len());
                let free = !forks[left] && !forks[right];
                if free {
                    (forks[left], forks[right]) = (true, true);
                }
                tell(&from, if free { Word::Eat } else { Word::Denied });
            }
            (Self::Arbiter { forks, .. }, Word::Eaten(number)) => {
                let right = (number as usize + 1) % forks.len();
                (forks[number as usize], forks[right]) = (false, false);
            }
            (Self::Arbiter { philosophers, .. }, Word::Left) => {
                *philosophers -= 1;
                return *philosophers == 0;
            }
            _ => {}
        }
        false
    }

    /// Workers divide the boards that a master hands out.
    #[inline]
    fn queens(&mut self, word: Word<L>, tell: &mut impl FnMut(&L, Word<L>)) -> bool {
        match (self, word) {
            (Self::Master { workers, .. }, Word::Workers(all)) => *workers = all,
            (Self::Master { workers, next, size, under_way, .. }, Word::Begin) => {
                (*next, *under_way) = (1, 1);
                tell(&workers[0], Word::Search(Board::default(), *size));
            }
            (Self::Master { workers, next, size, under_way, .. }, Word::Divided(board)) => {
                *under_way += 1;
                tell(&workers[*next % workers.len()], Word::Search(board, *size));
                *next += 1;
            }
            (Self::Master { under_way, solutions, .. }, Word::Searched(found)) => {
                *solutions += found;
                *under_way -= 1;
                return *under_way == 0;
            }
            (Self::Worker { master }, Word::Search(board, size)) => {
                let rows = usize::from(board.rows);
                if rows >= QUEENS_DIVIDED.min(usize::from(size)) {
                    tell(master, Word::Searched(solutions(board, size)));
                    return false;
                }
                for next in next_boards(board, size) {
                    tell(master, Word::Divided(next));
                }
                tell(master, Word::Searched(0));
            }
            _ => {}
        }
        false
    }
}

/// The boards with one more queen that no other attacks.
fn next_boards(board: Board, size: u8) -> impl Iterator<Item = Board> {
    let rows = usize::from(board.rows);
    let free = move |column: &u8| {
        board.columns[..rows].iter().enumerate().all(|(row, other)| {
            let apart = (rows - row) as u8;
            *other != *column && other.abs_diff(*column) != apart
        })
    };
    (0..size).filter(free).map(move |column| {
        let mut next = board;
        next.columns[rows] = column;
        next.rows += 1;
        next
    })
}

fn solutions(board: Board, size: u8) -> u64 {
    if board.rows == size {
        return 1;
    }
    next_boards(board, size).map(|next| solutions(next, size)).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{ACCOUNTS, Board, CREATURES, PHILOSOPHERS, Part, QUEENS_WORKERS, Word, solutions};

    /// Runs parts, known by their numbers, from one queue until the program says that it has ended.
    fn run(mut parts: Vec<Part<usize>>, first: Vec<(usize, Word<usize>)>) -> (Vec<Part<usize>>, usize) {
        let mut queue: VecDeque<_> = first.into();
        let (mut ends, mut handled) = (0, 0);
        while let Some((to, word)) = queue.pop_front() {
            handled += 1;
            assert!(handled < 10_000_000, "it comes to an end");
            ends += usize::from(parts[to].handle(word, || to, &mut |to, word| queue.push_back((*to, word))));
        }
        assert_eq!(ends, 1, "the end is told once");
        (parts, handled)
    }

    #[test]
    fn the_programs_do_what_they_are_for() {
        let mut parts = vec![Part::mall(500)];
        parts.extend((0..CREATURES).map(|one| Part::Creature { mall: 0, color: (one % 3) as u8, met: 0 }));
        let (parts, _) = run(parts, (1..=CREATURES as usize).map(|one| (one, Word::Begin)).collect());
        assert!(matches!(parts[0], Part::Mall { met: 1000, .. }), "two creatures meet each time");

        let mut parts = vec![Part::Teller { accounts: (1..=ACCOUNTS).collect(), begun: 3000, left: 3000 }];
        parts.extend((0..ACCOUNTS).map(|_| Part::account()));
        let (parts, _) = run(parts, vec![(0, Word::Begin)]);
        let sum = |parts: &[Part<usize>]| -> u64 {
            parts.iter().map(|part| if let Part::Account { balance, .. } = part { *balance } else { 0 }).sum()
        };
        assert_eq!(sum(&parts), (ACCOUNTS as u64) << 40, "no money is made or lost");

        let mut parts = vec![Part::arbiter()];
        parts.extend((0..PHILOSOPHERS as u32).map(|number| Part::Philosopher {
            number,
            rounds: 10,
            arbiter: 0,
        }));
        let (parts, _) = run(parts, (1..=PHILOSOPHERS).map(|one| (one, Word::Begin)).collect());
        let hungry =
            parts.iter().filter(|part| matches!(part, Part::Philosopher { rounds: 1.., .. })).count();
        assert_eq!(hungry, 0);

        let mut parts = vec![Part::master(8)];
        parts.extend((0..QUEENS_WORKERS).map(|_| Part::Worker { master: 0 }));
        let first = vec![(0, Word::Workers((1..=QUEENS_WORKERS).collect())), (0, Word::Begin)];
        let (parts, _) = run(parts, first);
        assert!(matches!(parts[0], Part::Master { solutions: 92, .. }), "eight queens have 92 solutions");
        assert_eq!(solutions(Board::default(), 6), 4);
    }
}
