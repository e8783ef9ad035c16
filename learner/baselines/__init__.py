"""Streaming and static recommenders to be measured against, behind one interface."""
