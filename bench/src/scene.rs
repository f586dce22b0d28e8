//! What runs while figures are taken: our stack and the peers, each started when first wanted and kept for the next
//! figure. After a failure all of it is thrown away, so that the next figure begins afresh.

use anyhow::Context as _;
use local::Interrupt;

use crate::{
    large_list::LargeList,
    load::{Ask, Window},
    ours::Ours,
    peers::{Nginx, RabbitMq},
    statistics::median,
};

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Scene {
    // dropped in this order
    nginx: Option<Nginx>,
    rabbitmq: Option<RabbitMq>,
    ours: Option<Ours>,
    large_list: Option<LargeList>,
    /// Single messages per second, 64 connections.
    maximum: Option<f64>,
    quick: bool,
    /// Asked by Ctrl-C.
    pub(crate) interrupt: Interrupt,
}

impl Scene {
    pub(crate) fn new(quick: bool, interrupt: Interrupt) -> Self {
        Self { nginx: None, rabbitmq: None, ours: None, large_list: None, maximum: None, quick, interrupt }
    }

    /// How long a run of a rate is.
    pub(crate) const fn window(&self) -> Window {
        if self.quick {
            Window { warm_up_ms: 500, window_ms: 1500 }
        } else {
            Window { warm_up_ms: 2000, window_ms: 8000 }
        }
    }

    /// A number of things: fewer in a quick run.
    pub(crate) const fn so_many<T: Copy>(&self, usually: T, quickly: T) -> T {
        if self.quick { quickly } else { usually }
    }

    /// Our stack.
    pub(crate) fn ours(&mut self) -> anyhow::Result<&mut Ours> {
        started(&mut self.ours, || Ours::start(""))
    }

    /// Our stack and nginx with its certificates.
    pub(crate) fn nginx(&mut self) -> anyhow::Result<(&Ours, &Nginx)> {
        let ours = started(&mut self.ours, || Ours::start(""))?;
        let nginx = started(&mut self.nginx, || Nginx::start(ours.stack.pki()))?;
        Ok((ours, nginx))
    }

    /// Our stack and RabbitMQ with its certificates.
    pub(crate) fn rabbitmq(&mut self) -> anyhow::Result<(&Ours, &RabbitMq)> {
        let ours = started(&mut self.ours, || Ours::start(""))?;
        let rabbitmq = started(&mut self.rabbitmq, || RabbitMq::start(ours.stack.pki()))?;
        Ok((ours, rabbitmq))
    }

    /// Our stack with a second proxy that has a large revocation list.
    pub(crate) fn large_list(&mut self) -> anyhow::Result<(&Ours, &mut LargeList)> {
        let ours = started(&mut self.ours, || Ours::start(""))?;
        let list = started(&mut self.large_list, || LargeList::start(ours))?;
        Ok((ours, list))
    }

    /// What our stack takes at most, in single messages per second: the middle of three runs, one if quick; for all figures.
    pub(crate) fn maximum(&mut self) -> anyhow::Result<f64> {
        if let Some(maximum) = self.maximum {
            return Ok(maximum);
        }
        let (window, runs) = (self.window(), self.so_many(3, 1));
        let ours = self.ours()?;
        let rates = (0..runs).map(|_| Ok(ours.ingest(Ask::Message, window)?.value));
        let maximum = median(&rates.collect::<anyhow::Result<Vec<_>>>()?).context("it was just measured")?;
        self.maximum = Some(maximum);
        Ok(maximum)
    }

    /// Stops everything; the next figure starts it anew, and goes by the same maximum.
    pub(crate) fn discard(&mut self) {
        *self = Self { maximum: self.maximum, ..Self::new(self.quick, self.interrupt.clone()) };
    }
}

/// What is there, or else is started now.
fn started<T>(place: &mut Option<T>, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<&mut T> {
    if place.is_none() {
        *place = Some(start()?);
    }
    place.as_mut().context("it was just started")
}
