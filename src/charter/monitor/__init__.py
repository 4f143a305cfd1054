"""What happens after release: drift, outcomes, estimated quality, alerts, business value."""
