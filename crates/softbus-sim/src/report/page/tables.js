function tables() {}
