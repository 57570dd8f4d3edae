"""What rows would take before they are sent: tokens, money, hours; from the texts, a sample, or a pilot."""
