//! A request on its way through a service: the part of a lease that outlives its sending.

use crate::lease::Seat;
use dockless_node::{Carrier, Instance};

/// Ends by [`Serving::finish`]; dropped otherwise, the connection is closed, which is how the server learns that its
/// client has gone. The instance has room for another request either way.
#[derive(Debug)]
pub(crate) struct Serving {
    seat: Seat,
    carrier: Option<Carrier>,
}

impl Serving {
    pub(crate) fn new(seat: Seat) -> Self {
        Self { seat, carrier: None }
    }

    /// The answer comes on this connection.
    pub(crate) fn carried_by(&mut self, carrier: Carrier) {
        self.carrier = Some(carrier);
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.seat.instance
    }

    /// The answer is complete.
    pub(crate) fn finish(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.keep();
        }
    }

    /// The connection is another protocol's now; the place is taken until this is dropped.
    pub(crate) fn upgrade(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.upgrade();
        }
    }

    /// The instance does not accept connections though it lives: it is ended.
    pub(crate) fn discard(&self) {
        self.seat.discard();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.seat.leave();
    }
}
