"""What processes send one another: messages between two, exchanges among many, and the count of both."""
