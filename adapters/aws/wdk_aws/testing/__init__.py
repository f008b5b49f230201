"""For tests of programs on the AWS world: what they ask and cost, and what happens when AWS fails."""
