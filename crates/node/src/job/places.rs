//! The nodes of a job and where each is reached. There may be more of them while the program runs, and some
//! may leave; their numbers are not used again.
//!
//! Not here: which of them take part already (`invitation`).
//!
//! Lock order: `places` and `left` are taken alone.

use banyan_wire::cluster::MemberId;
use banyan_wire::control::Place;
use banyan_wire::ids::{NodeId, NodeSet};
use parking_lot::RwLock;

/// Whether a job may get nodes that it does not begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It has those that it begins with.
    Fixed,
    /// Machines that join the cluster join the job, too.
    Open,
}

/// Where the nodes of a job are reached, by number.
#[derive(Debug)]
pub(crate) struct Places {
    places: RwLock<Vec<Place>>,
    left: RwLock<NodeSet>,
    growth: Growth,
}

impl Places {
    /// Those that the job begins with.
    pub(crate) fn new(places: Vec<Place>, growth: Growth) -> Self {
        Self { places: RwLock::new(places), left: RwLock::default(), growth }
    }

    /// Of a job that this node joins, some of whose nodes have left.
    pub(crate) fn of_job(places: Vec<Place>, left: &[u8]) -> Self {
        let left = left.iter().filter_map(|&node| NodeId::new(node));
        let left = left.fold(NodeSet::EMPTY, NodeSet::with);
        Self { left: RwLock::new(left), ..Self::new(places, Growth::Open) }
    }

    /// A node has left.
    pub(crate) fn leave(&self, node: NodeId) {
        let mut left = self.left.write();
        *left = left.with(node);
    }

    /// Whether a node has left.
    pub(crate) fn has_left(&self, node: NodeId) -> bool {
        self.left.read().contains(node)
    }

    /// The numbers of those that have left.
    pub(crate) fn left(&self) -> Vec<u8> {
        self.left.read().iter().map(NodeId::get).collect()
    }

    pub(crate) fn count(&self) -> u8 {
        self.places.read().len() as u8
    }

    /// Whether the job has one node, for good.
    pub(crate) fn is_alone(&self) -> bool {
        self.growth == Growth::Fixed && self.count() == 1
    }

    /// Where a node is reached that the job has.
    ///
    /// # Panics
    /// If it has no such node: numbers are checked where they come from.
    pub(crate) fn get(&self, node: NodeId) -> Place {
        self.places.read()[usize::from(node.get())]
    }

    pub(crate) fn all(&self) -> Vec<Place> {
        self.places.read().clone()
    }

    /// Those that have not left.
    pub(crate) fn present(&self) -> Vec<Place> {
        let left = *self.left.read();
        let places = self.all().into_iter().zip((0..).map_while(NodeId::new));
        places.filter(|(_, node)| !left.contains(*node)).map(|(place, _)| place).collect()
    }

    /// Whether the machine that has proved to be `member`, if machines prove that, is the node with this
    /// number: it may be one that had the number in an attempt to join which failed.
    pub(crate) fn is_at(&self, node: u32, member: Option<MemberId>) -> bool {
        let has_left = u8::try_from(node).ok().and_then(NodeId::new).is_none_or(|node| self.has_left(node));
        !has_left && self.places.read().get(node as usize).is_some_and(|place| place.member == member)
    }

    /// All nodes but one and those that have left.
    pub(crate) fn others(&self, own: NodeId) -> impl Iterator<Item = NodeId> + use<> {
        let left = *self.left.read();
        (0..self.count()).filter_map(NodeId::new).filter(move |&node| node != own && !left.contains(node))
    }

    /// One more node, with the next number. The last one may be another than was said before, if that did not
    /// join after all. Says whether the number can be.
    pub(crate) fn grow(&self, node: NodeId, place: Place) -> bool {
        let (mut places, index) = (self.places.write(), usize::from(node.get()));
        if index == 0 || index > places.len() || index + 1 < places.len() {
            return false;
        }
        places.truncate(index);
        places.push(place);
        true
    }

    /// The last node does not join after all.
    pub(crate) fn cancel_grow(&self, node: NodeId) {
        let mut places = self.places.write();
        if usize::from(node.get()) + 1 == places.len() {
            places.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_grows_by_the_next_number_only() {
        let place = |port| Place { address: ([127, 0, 0, 1], port).into(), member: None };
        let node = |number| NodeId::new(number).unwrap();
        let places = Places::new(vec![place(0)], Growth::Open);
        assert!(!places.is_alone() && Places::new(vec![place(0)], Growth::Fixed).is_alone());
        assert!(!places.grow(node(0), place(9)) && !places.grow(node(2), place(9)));
        assert!(places.grow(node(1), place(1)) && places.grow(node(2), place(2)));
        assert!(!places.grow(node(1), place(9)), "it takes part");
        assert!(places.grow(node(2), place(3)), "another one in place of one that did not come");
        assert_eq!(places.all(), [place(0), place(1), place(3)]);
        places.cancel_grow(node(1));
        places.cancel_grow(node(2));
        assert_eq!((places.count(), places.get(node(1))), (2, place(1)));
        assert_eq!(places.others(node(0)).collect::<Vec<_>>(), [node(1)]);
    }

    #[test]
    fn who_has_left_is_no_other_node() {
        let place = |port| Place { address: ([127, 0, 0, 1], port).into(), member: None };
        let node = |number| NodeId::new(number).unwrap();
        let places = Places::of_job(vec![place(0), place(1), place(2)], &[1, 99]);
        places.leave(node(2));
        assert!(places.grow(node(3), place(3)), "its number is not free");
        assert_eq!((places.left(), places.count()), (vec![1, 2], 4));
        assert_eq!(places.others(node(0)).collect::<Vec<_>>(), [node(3)]);
        assert_eq!(places.present(), [place(0), place(3)]);
        assert!(places.is_at(3, None) && !places.is_at(2, None));
    }

    #[test]
    fn who_had_a_number_before_is_not_the_node_with_it() {
        let place = |member| Place { address: ([127, 0, 0, 1], 1).into(), member };
        let (one, two) = (Some(MemberId([1; 10])), Some(MemberId([2; 10])));
        let places = Places::new(vec![place(None)], Growth::Open);
        let node = NodeId::new(1).unwrap();
        for member in [one, two] {
            assert!(places.grow(node, place(member)));
        }
        assert!(places.is_at(1, two) && !places.is_at(1, one) && !places.is_at(1, None));
        assert!(places.is_at(0, None) && !places.is_at(2, two) && !places.is_at(u32::MAX, two));
    }
}
