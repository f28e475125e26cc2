"""placeholder"""
def find_sector(frames, region=None):
    return None
