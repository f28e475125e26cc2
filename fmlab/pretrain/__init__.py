"""Pretraining a backbone of one's own on unlabelled images: DINOv2, MAE, SimSiam, SimCLR."""
