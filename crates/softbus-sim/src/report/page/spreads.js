function spreads() {}
