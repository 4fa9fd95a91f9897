//! An auction house as untrusted actors: the house opens an auction for each item, and bidders talk to that
//! alone.
//!
//! Nobody can bid without the auction's address, which only the house gives out; the auction knows of its
//! bidders only what they sent. `banyan actor run auction.wasm` makes the house.
#![no_std]

extern crate alloc;

use alloc::string::String;

use banyan_actor_guest::{Actor, Address, Context, guest};
use serde::{Deserialize, Serialize};

guest!(0 => House, 1 => Auction, 2 => Over);

/// Opens auctions. Its start is its name.
pub struct House {
    name: String,
    opened: u32,
}

/// Asks the house to sell an item.
#[derive(Serialize, Deserialize)]
pub struct Sell {
    /// What.
    pub item: String,
    /// The least that is taken for it.
    pub least: u64,
    /// Who gets the auction's address.
    pub reply_to: Address<Opened>,
}

/// An auction was opened.
#[derive(Serialize, Deserialize)]
pub struct Opened {
    /// Which, counted by the house.
    pub number: u32,
    /// The house's name.
    pub house: String,
    /// Where to bid.
    pub auction: Address<Bidding>,
}

impl Actor for House {
    type Start = String;
    type Message = Sell;

    fn start(name: String, _context: &mut Context) -> Self {
        Self { name, opened: 0 }
    }

    fn receive(&mut self, message: Sell, context: &mut Context) {
        let Sell { item, least, reply_to } = message;
        self.opened += 1;
        let auction = context.create::<Auction>(&(item, least));
        let opened = Opened { number: self.opened, house: self.name.clone(), auction };
        context.send(&reply_to, &opened);
    }
}

/// Sells one item to the highest bidder. Its start is the item, and the least that is taken.
pub struct Auction {
    item: String,
    least: u64,
    best: Option<(u64, Address<Outcome>)>,
}

/// What an auction takes.
#[derive(Serialize, Deserialize)]
pub enum Bidding {
    /// So much is offered, and here is where to say how it went.
    Bid(u64, Address<Outcome>),
    /// The auction ends.
    Close,
}

/// The message to a bidder.
#[derive(Serialize, Deserialize)]
pub enum Outcome {
    /// The best so far.
    Leading,
    /// Not enough: this much, or more, would be.
    TooLow(u64),
    /// Somebody offered more.
    Outbid(u64),
    /// The item is the bidder's, for this much.
    Won(String, u64),
    /// It is over.
    Closed,
}

impl Actor for Auction {
    type Start = (String, u64);
    type Message = Bidding;

    fn start((item, least): Self::Start, _context: &mut Context) -> Self {
        Self { item, least, best: None }
    }

    fn receive(&mut self, message: Bidding, context: &mut Context) {
        match message {
            Bidding::Bid(amount, bidder) if amount < self.least => {
                context.send(&bidder, &Outcome::TooLow(self.least));
            }
            Bidding::Bid(amount, bidder) => {
                context.send(&bidder, &Outcome::Leading);
                if let Some((_, loser)) = self.best.replace((amount, bidder)) {
                    context.send(&loser, &Outcome::Outbid(amount));
                }
                self.least = amount.checked_add(1).expect("nobody offers as much as a word holds");
            }
            Bidding::Close => {
                if let Some((amount, winner)) = self.best.take() {
                    context.send(&winner, &Outcome::Won(self.item.clone(), amount));
                }
                context.become_actor(Over);
            }
        }
    }
}

/// What an auction becomes.
pub struct Over;

impl Actor for Over {
    type Start = ();
    type Message = Bidding;

    fn start((): (), _context: &mut Context) -> Self {
        Self
    }

    fn receive(&mut self, message: Bidding, context: &mut Context) {
        if let Bidding::Bid(_, bidder) = message {
            context.send(&bidder, &Outcome::Closed);
        }
    }
}
