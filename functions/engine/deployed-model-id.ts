/** What is a DeployedModel called? By digits: ten at most where we chose them, more where Vertex did. */
export const deployedModelIdPattern = /^\d{1,20}$/;
