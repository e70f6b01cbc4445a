mod age;
mod events;
mod lists;
mod outage;
mod pop;
mod routing;
