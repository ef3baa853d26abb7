"""People in front of cameras, and a detector that looks at them: what keypoint regressors train on."""
