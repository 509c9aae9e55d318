"""The virtual device, phones over adb, and in-process execution behind one interface."""
