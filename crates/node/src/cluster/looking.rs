//! What a node tells the tables of SQL of itself and its neighbours.
//!
//! Not here: the tables (`crate::observe::sql`).

use super::membership::Cluster;
use super::node::{Neighbours, Node};
use crate::job::Job;
use crate::observe::log::Log;
use crate::observe::machine::this_machine;
use crate::observe::sql::{Facts, LeftConnections, MemberView, Other, Own};
use crate::transport::Trust;
use banyan_wire::cluster::{Member, Role};
use banyan_wire::control::Place;
use banyan_wire::ids::NodeId;
use std::sync::Arc;

fn view(member: &Member) -> MemberView {
    MemberView {
        id: member.id.to_string(),
        role: match member.role {
            Role::Root => "root",
            Role::Worker => "worker",
        },
        joined: member.joined,
    }
}

impl Cluster {
    fn own_view(&self) -> Own {
        let member = self.own_member();
        Own {
            address: member.as_ref().map_or_else(String::new, |member| member.address.to_string()),
            member: member.as_ref().map(view),
            machine: this_machine(),
            certificate_expires: self.certificate_expires(),
        }
    }
}

impl Facts for Node {
    fn name(&self) -> String {
        match &self.neighbours {
            // It can be given another while the node runs.
            Neighbours::Cluster(cluster) => cluster.name(),
            Neighbours::Told { .. } => self.name.clone(),
        }
    }

    fn name_of(&self, place: &Place, number: NodeId) -> String {
        match (&self.neighbours, place.member) {
            (Neighbours::Cluster(cluster), Some(member)) => cluster.name_of(member),
            (Neighbours::Told { number: Some(_), .. }, _) => number.to_string(),
            _ => place.address.to_string(),
        }
    }

    fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.all()
    }

    fn own(&self) -> Own {
        match &self.neighbours {
            Neighbours::Cluster(cluster) => cluster.own_view(),
            Neighbours::Told { own, .. } => Own {
                member: None,
                address: own.to_string(),
                machine: this_machine(),
                certificate_expires: None,
            },
        }
    }

    fn others(&self) -> Vec<Other> {
        match &self.neighbours {
            Neighbours::Cluster(cluster) => {
                let other = |member: Member| Other {
                    name: member.name.clone(),
                    place: Cluster::place(&member),
                    member: Some((view(&member), member.machine)),
                };
                cluster.others().into_iter().map(other).collect()
            }
            // They have nothing to tell, and nobody to tell it.
            Neighbours::Told { .. } if self.spares.are_waiting() => Vec::new(),
            Neighbours::Told { peers, number, .. } => {
                // The others, by number, without this one.
                let number_of = |at: usize, own: usize| if at < own { at } else { at + 1 };
                let other = |(at, &address): (usize, &std::net::SocketAddr)| Other {
                    name: match number {
                        Some(own) => format!("node {}", number_of(at, *own)),
                        None => address.to_string(),
                    },
                    place: Place { address, member: None },
                    member: None,
                };
                peers.iter().enumerate().map(other).collect()
            }
        }
    }

    fn trust(&self) -> Trust {
        self.trust.clone()
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn left_connections(&self) -> &LeftConnections {
        &self.left_connections
    }
}
