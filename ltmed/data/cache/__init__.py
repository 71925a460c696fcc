"""Images decoded once and kept: what files hold, the squares of pixels, the features of a frozen encoder."""
