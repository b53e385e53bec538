"""From the device to the host, and to the thread that writes."""
