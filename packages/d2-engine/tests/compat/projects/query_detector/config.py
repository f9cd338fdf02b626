from detectron2.config import CfgNode as CN


def add_query_config(cfg):
    """Add the keys of this project."""
    cfg.INPUT.DATASET_MAPPER_NAME = "query"
    cfg.MODEL.QUERY = CN()
    cfg.MODEL.QUERY.NUM_QUERIES = 6
    cfg.MODEL.QUERY.HIDDEN_DIM = 16
    cfg.MODEL.QUERY.MASK_WEIGHT = 2.0
    cfg.MODEL.QUERY.IN_FEATURE = "res4"
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
